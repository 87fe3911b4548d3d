"""Sweeps over several machines: the chunks of a sweep are steps that Celery workers carry out (with extra ``celery``)."""
