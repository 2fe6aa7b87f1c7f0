"""One module for each part of the API; app.py joins them."""
