"""Kernels: the provisioner, the agent beside the GPU, and the host that the runtime talks to.

Import the modules, not the package: the agent runs with the standard library and pyzmq only, and loads this file.
"""
