"""Partitions by tenant and environment, kept in step with the database (design decision 6).

A key reads ``environment|tenant``: Dagster orders the dimensions by name. One tenant with all its environments is one
range. The cross product holds combinations that no environment stands behind: those are no-ops that say so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from wfops_pipelines.domain.errors import UnknownPartition
from wfops_pipelines.services.services import Services

tenants = dg.DynamicPartitionsDefinition(name="tenants")
environments = dg.DynamicPartitionsDefinition(name="environments")
tenant_environments = dg.MultiPartitionsDefinition({"environment": environments, "tenant": tenants})


@dataclass(frozen=True, slots=True)
class Key:
    """One partition: a tenant's environment, by slugs."""

    tenant: str
    environment: str

    def __str__(self) -> str:
        return f"{self.environment}|{self.tenant}"

    @classmethod
    def parse(cls, key: str) -> "Key":
        """Read ``environment|tenant``; :class:`UnknownPartition` says how a key looks."""
        environment, bar, tenant = key.partition("|")
        if not (environment and bar and tenant) or "|" in tenant:
            raise UnknownPartition(f"{key!r} is no partition",
                                   fix="partitions are named environment|tenant, as in prod|acme")
        return cls(tenant=tenant, environment=environment)


@dataclass(frozen=True, slots=True)
class PartitionChanges:
    """What has to change for Dagster's partitions to follow the database."""

    add_tenants: Sequence[str]
    add_environments: Sequence[str]
    delete_tenants: Sequence[str]
    delete_environments: Sequence[str]

    @property
    def any(self) -> bool:
        """Whether there is something to do."""
        return bool(self.add_tenants or self.add_environments or self.delete_tenants or self.delete_environments)


def partition_changes(*, wanted_tenants: Sequence[str], wanted_environments: Sequence[str], tenants: Sequence[str],
                      environments: Sequence[str]) -> PartitionChanges:
    """Compare what the database has (in its order) with what Dagster has."""
    return PartitionChanges(
        add_tenants=[t for t in wanted_tenants if t not in set(tenants)],
        add_environments=[e for e in wanted_environments if e not in set(environments)],
        delete_tenants=sorted(set(tenants) - set(wanted_tenants)),
        delete_environments=sorted(set(environments) - set(wanted_environments)),
    )


def sync_partitions(instance: dg.DagsterInstance, services: Services) -> PartitionChanges:
    """Make Dagster's partitions those of the database's tenants and environments; returns what that took.

    Slugs are valid keys (the database checks them too): Dagster itself would take anything.
    """
    with services.store.system() as system:
        rows = system.environments()
        wanted_tenants = [row.slug for row in system.tenants()]
    changes = partition_changes(
        wanted_tenants=wanted_tenants, wanted_environments=list(dict.fromkeys(row.slug for row in rows)),
        tenants=instance.get_dynamic_partitions("tenants"),
        environments=instance.get_dynamic_partitions("environments"),
    )
    if changes.add_tenants:
        instance.add_dynamic_partitions("tenants", changes.add_tenants)
    if changes.add_environments:
        instance.add_dynamic_partitions("environments", changes.add_environments)
    for tenant in changes.delete_tenants:
        instance.delete_dynamic_partition("tenants", tenant)
    for environment in changes.delete_environments:
        instance.delete_dynamic_partition("environments", environment)
    return changes
