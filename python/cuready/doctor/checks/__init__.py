"""The checks, one module for each part of the machine; see `cuready.doctor.registry`."""
