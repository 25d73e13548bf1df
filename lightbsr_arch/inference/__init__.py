"""Networks at work: exported to other formats, and run by other programs."""
