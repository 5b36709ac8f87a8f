"""The pydantic documents that stages hand to each other (what goes along the arrows)."""
