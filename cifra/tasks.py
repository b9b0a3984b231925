"""The second import path of `cifra_jobs`: the very same objects, under the platform's own name."""

from cifra_jobs import *  # noqa: F403 - the public names have one list, cifra_jobs.__all__
from cifra_jobs import __all__ as __all__
