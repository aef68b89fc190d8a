"""The seam: where a prediction of mflux's is looked at, computed or reused."""
