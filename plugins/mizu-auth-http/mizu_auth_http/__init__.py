"""Authorization of Mizu by a web service."""
