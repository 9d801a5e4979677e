"""People and programs, their teams, and how they prove who they are."""
