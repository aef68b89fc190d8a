import json

import pytest
from scripted import DEV


@pytest.fixture
def own_file(tmp_path):
    """Writes a calibration whose prediction is the change itself."""

    def write(**fields):
        data = {
            "schema": 1,
            "name": "mine",
            "model": DEV.model,
            "pipelines": ["Flux1"],
            "signal": "modulated_input",
            "rows": "target",
            "polynomial": [1.0, 0.0],
            "threshold": 0.5,
            "source": "measured here",
        }
        path = tmp_path / "mine.json"
        path.write_text(json.dumps(data | fields))
        return str(path)

    return write
