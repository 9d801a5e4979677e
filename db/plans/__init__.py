"""Task plans: what a teacher gives out, and to whom it was published."""
