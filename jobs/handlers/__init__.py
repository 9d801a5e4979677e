"""The handlers of every kind of work, a module for each domain. They do not know each other."""
