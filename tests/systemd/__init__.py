"""The package and its units on booted Debians."""
