"""What must be true of every group's store, and what else is true of some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from infra.groups import GROUPS
from infra.postgres.event_rules import AUDIT_RULES
from infra.postgres.mis_rules import MIS_RULES
from infra.postgres.proof_rules import Rule, rule
from infra.postgres.statement_rules import STATEMENT_RULES

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import TextClause

    from infra.groups import Group


def _common(group: Group) -> tuple[Rule, ...]:
    """Every published event is applied, or held with an error that says why; and nothing is applied that was never stored."""
    topics = ", ".join(f"'{topic}'" for topic in group.topics)
    return (
        rule(
            5,
            f"""
            SELECT format('event %s (%s) of transaction %s, tenant %s: published at %s, but group {group.name} %s', e.event_id, e.type,
                          e.transaction_id, e.tenant, e.published_at,
                          CASE h.status WHEN 'failed' THEN 'holds it: ' || coalesce(h.error, '')
                                        WHEN 'waiting' THEN 'has it wait behind another one of its key'
                                        ELSE 'has not applied it' END)
              FROM event_outbox e
              LEFT JOIN {group.applied} a USING (event_id)
              LEFT JOIN {group.name}.held_event h ON h.event_id = e.event_id AND h.status IN ('failed', 'waiting')
             WHERE e.published_at IS NOT NULL AND e.created_at <= :until AND e.topic IN ({topics}) AND a.event_id IS NULL
             ORDER BY e.created_at
            """,  # noqa: S608  names of casaflow's own, here and below
        ),
        rule(
            5,
            f"""
            SELECT format('event %s, from %s/%s at offset %s: group {group.name} applied what no leg has stored', a.event_id, a.topic,
                          a.partition, a."offset")
              FROM {group.applied} a LEFT JOIN event_outbox e USING (event_id)
             WHERE e.event_id IS NULL AND a.applied_at <= :until
            """,  # noqa: S608
        ),
    )


_OWN: Final = {"statement": STATEMENT_RULES, "mis": MIS_RULES}
GROUP_RULES: Final = {
    name: AUDIT_RULES if group.handler is None else (*_common(group), *_OWN.get(name, ())) for name, group in GROUPS.items()
}
"""By group."""


def counts_of(groups: Collection[str]) -> TextClause:
    """What each group has done with the events that were stored until ``:until``, a row for each group."""
    queries = []
    for group in (GROUPS[name] for name in groups):
        held = "SELECT '' AS status WHERE false" if group.handler is None else f"SELECT status FROM {group.name}.held_event"  # noqa: S608
        queries.append(f"""
            SELECT '{group.name}' AS consumer_group,
                   (SELECT count(*) FROM {group.applied} a JOIN event_outbox e USING (event_id) WHERE e.created_at <= :until) AS applied,
                   (SELECT coalesce(sum(repeats), 0) FROM {group.name}.consumer_offset WHERE consumer_group = '{group.name}') AS repeats,
                   (SELECT count(*) FROM ({held}) AS h WHERE status IN ('failed', 'waiting', 'unreadable')) AS held,
                   (SELECT count(*) FROM ({held}) AS h WHERE status = 'skipped') AS skipped""")  # noqa: S608
    return text(" UNION ALL ".join(queries))
