"""Asking for a promotion: who hears of it, and what somebody has looked at (§11.2, §16)."""

from __future__ import annotations

import pytest

from wfops_pipelines.domain.errors import Blocked
from wfops_pipelines.services.promotion_options import PromotionOptions
from wfops_pipelines.services.promotion_request import request_promotion
from wfops_pipelines_tests.services.fleet import NewFleet, run, workflow
from wfops_pipelines_tests.services.outbox import Receiver, declare, send
from wfops_pipelines_tests.services.promotions import decide, dev_to_prod, promoting_fleet, request, told


def test_whoever_may_approve_it_hears_that_it_waits(new_fleet: NewFleet) -> None:
    with Receiver() as receiver:
        fleet = promoting_fleet(new_fleet, ("dev", "prod"), stage={"approvers": 2})
        declare(fleet, hook={"url": receiver.url})
        fleet["dev"].create_in_n8n(workflow("One"))
        asked = request(fleet)
        assert asked.status == "pending_approval" and asked.number == 1
        send(fleet)
        assert receiver.titles == ["[medium] Promotion dev → prod of acme waits for approval"]
        assert "2 approvals needed: wfops approve acme/p1" in receiver.told[0]["message"]
        decide(fleet, 1)
        send(fleet)
        assert len(receiver.told) == 1


def test_another_plan_than_the_one_that_was_shown_is_not_begun(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(dev_to_prod)
    (one,) = fleet["dev"].create_in_n8n(workflow("One"))
    seen = request(fleet, dry_run=True)
    fleet["dev"].edit_in_n8n(one, "slipped in")
    with pytest.raises(Blocked, match="another one by now"):
        run(request_promotion(fleet.services, fleet.context, fleet["dev"].row, fleet["prod"].row, PromotionOptions(),
                              checksum=seen.checksum))
    now = request(fleet, dry_run=True)
    begun = run(request_promotion(fleet.services, fleet.context, fleet["dev"].row, fleet["prod"].row, PromotionOptions(),
                                  checksum=(now.checksum or "")[:12]))
    assert begun.status == "approved" and told(fleet, 1).checksum == now.checksum
