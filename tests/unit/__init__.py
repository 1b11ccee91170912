"""Need nothing but the source."""
