"""Types of the native extension."""

__all__: list[str]
