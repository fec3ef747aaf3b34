"""What the ``swangpu`` command does, one file for each thing; loaded when it is asked for."""
