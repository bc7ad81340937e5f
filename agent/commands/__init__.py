"""The commands, one file each. `agent.cli` reads the words typed and imports only the one that was asked for."""
