"""Courses, their classes, who is in them, and what they are made of."""
