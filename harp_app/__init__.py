"""The endpoint for the DAW: HARP's protocol, the region in place, the page in the browser."""
