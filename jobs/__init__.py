"""What runs because time has passed or a row fell due: workers, and the handlers of every kind of work."""
