"""The classifier fails, is too slow, or its thread dies: on a real process."""

from __future__ import annotations

import asyncio
import time

from tests.faults.process import CALM, THREAT, WAIT_S, eventually, floor

CALLS = [f"c-{number}" for number in range(40)]


async def test_a_model_that_fails_is_seen_and_asked_again_until_it_answers(tmp_path):
    async with floor(tmp_path) as here:
        await here.start("c-1", "c-2")
        here.on("model_fails")
        await here.say("c-1", THREAT)
        await here.check("scoring", "failing")
        assert (await here.hears(lambda item: item["type"] == "monitoring.degraded"))["reason"] == "scoring_failing"
        assert (await here.ready())[0] == 503
        assert (await here.monitoring("c-2", "degraded"))["reason"] == "scoring_failing"
        assert await here.metric('mamori_check{check="scoring"}') == 0
        assert await here.metric('mamori_unscored_total{reason="failed"}') >= 1
        # Plain words are heard all the same, and whose judgement it is is said.
        heard = (await here.hears_alert("c-1"))["alert"]
        assert (heard["labels"][0], heard["model_version"]) == ("threat", "lexicon-1")
        await here.client.flush(10)
        here.off("model_fails")
        assert await here.check("scoring", "ok") < 5  # Nobody speaks meanwhile.
        await here.hears(lambda item: item["type"] == "monitoring.restored")
        assert (await here.ready())[0] == 200
        await here.monitoring("c-2", "ok")
        assert (await here.monitoring("c-1", "degraded"))["reason"] == "unscored_failed"
        await here.say("c-1", CALM)
        assert (await here.monitoring("c-1", "incomplete"))["reason"] == "unscored_failed"
        await here.say("c-2", THREAT)
        assert (await here.hears_alert("c-2"))["alert"]["model_version"] != "lexicon-1"


async def test_a_dead_inference_thread_is_replaced(tmp_path):
    async with floor(tmp_path) as here:
        await here.start("c-1", "c-2")
        here.on("inference_dies")
        await here.say("c-1", THREAT)
        await here.struck("inference_dies")
        began_s = time.monotonic()
        await here.hears_alert("c-1")  # It waited in the queue and is scored by the next.
        assert time.monotonic() - began_s < 4
        await here.check("engine", "ok")
        assert await here.metric('mamori_faults_total{part="inference"}') == 1
        await here.say("c-2", THREAT)
        await here.hears_alert("c-2")


async def test_behind_calm_talk_is_shed_threats_are_heard_and_new_calls_are_refused(tmp_path):
    async with floor(tmp_path) as here:
        await here.start(*CALLS)
        await here.client.flush()
        here.on("model_slow", 0.25)
        # The model does 32 utterances a second at most, of twice as many that come.
        turn, checks = 0, {"load": ""}
        async with asyncio.timeout(WAIT_S):
            while turn < 6 or checks["load"] != "scoring":  # A busy machine sends later, and is behind later.
                await asyncio.sleep(0.5)
                for index, call_id in enumerate(CALLS):
                    grave = turn == 3 and index % 10 == 0
                    await here.say(call_id, THREAT if grave else f"{CALM}、{turn}回目の{index}番です")
                turn, checks = turn + 1, (await here.ready())[1]
        assert checks["scoring"] == "shedding"
        await here.start("late")
        await eventually(lambda: [nack for nack in here.nacks if nack["call_id"] == "late"])
        refusal = next(nack for nack in here.nacks if nack["call_id"] == "late")
        assert (refusal["code"], refusal["retry"]) == ("overloaded", True)
        assert refusal["retry_after_ms"] > 0
        for call_id in CALLS[::10]:
            assert (await here.hears_alert(call_id))["alert"]["labels"][0] == "threat"
        assert await here.metric('mamori_unscored_total{reason="shed"}') > 20
        assert await here.metric('mamori_unscored_total{reason="expired"}') == 0
        assert await here.metric("mamori_calls_refused_total") >= 1
        shed = [state for state in here.statuses.values() if state["monitoring"]["reason"] == "unscored_shed"]
        assert shed
        here.off("model_slow")
        assert await here.check("scoring", "ok") < 10
        assert await here.check("load", "ok") < 10
        await here.client.flush(20)  # The call that was refused is in.
        assert here.client.unacked == 0
        assert (await here.http.get("/v1/calls/late")).status_code == 200
