"""The agent: the process that polls, decides, publishes and delivers."""
