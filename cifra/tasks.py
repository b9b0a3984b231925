"""The second import path of `cifra_jobs`: the very same objects, under the platform's own name."""

import cifra_jobs
from cifra_jobs import *  # noqa: F403 - the public names have one list, cifra_jobs.__all__

__all__ = cifra_jobs.__all__
