"""mflux shims: the only part of the package, beside the command line, that knows mflux."""
