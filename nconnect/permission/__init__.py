"""Who may in, to what, for how long: grants, where they are kept, and the one place that decides."""
