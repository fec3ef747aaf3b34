"""The journal and the records made from it, in a database."""
