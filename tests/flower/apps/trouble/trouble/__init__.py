"""Everything that an app should not do, by the name of what it does."""
