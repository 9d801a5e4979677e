"""The ways in which an operation reaches us and its answer goes back: HTTP, event streams, multipart, sockets."""
