"""The console: a page to look at, the API behind it, and what the agents note for it."""
