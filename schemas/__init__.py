"""What the data looks like. Imports msgspec only."""
