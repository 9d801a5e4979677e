"""The edge: HTTP, the environment, who asks, how much they may ask, and the processes that run it all."""
