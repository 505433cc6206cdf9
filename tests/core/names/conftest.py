from collections.abc import Iterator

import pytest

from tests.core.names.hub import Hub, serving


@pytest.fixture
def hub() -> Iterator[Hub]:
    """It is empty."""
    with serving(Hub()) as one:
        yield one
