"""Start real processes."""
