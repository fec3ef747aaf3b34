import dask_gateway.no_such_module_ever  # noqa: F401
