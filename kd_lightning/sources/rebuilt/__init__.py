"""Students that are rebuilt, perhaps around their teacher, before they are trained."""
