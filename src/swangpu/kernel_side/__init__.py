"""What runs inside the user's kernel: the ``%gpu`` magics and what they need.

The kernel's Python is not the server's: nothing here imports anything but the standard library and IPython, and the
syntax is Python 3.9's. ``_site/`` is the folder to put on a kernel's path: there this package is ``swangpu_kernel``.
"""
