# The host's programs, as the agent finds them.
PATH=/host:$PATH
