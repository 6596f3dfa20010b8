"""HARP's wire protocol on gradio or pyharp, and the ASGI middleware around it."""
