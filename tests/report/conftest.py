"""Reports of tests keep nothing in the cache of who runs them."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLUE_POOL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
