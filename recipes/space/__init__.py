"""A Hugging Face Space of the endpoint: these files and the packages make its repository."""
