"""Tasks: one person's or one team's piece of work, in trees."""
