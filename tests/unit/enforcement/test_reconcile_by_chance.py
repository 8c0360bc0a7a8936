"""Whatever routers answer and whenever the core dies: nothing is called proven that is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from enforcement.reconcile import Capabilities, LineState, Stage, StepKind, after, next_step
from tests.unit.enforcement.reconciled_router import START, RouterModel, Run

WISHES = (b"aaaaaaaa", b"bbbbbbbb", b"cccccccc")

capabilities = st.builds(
    Capabilities,
    coa=st.booleans(),
    api=st.booleans(),
    complete=st.booleans(),
    api_alone=st.just(False),
    read_back=st.booleans(),
    kick=st.booleans(),
).filter(lambda able: able.coa or able.api or not able.complete)
minutes = st.integers(0, 30).map(lambda count: START + timedelta(minutes=count))
routers = st.builds(
    RouterModel,
    in_force=st.sampled_from(WISHES),
    is_open=st.booleans(),
    coa_cause=st.sampled_from([None, None, None, 401, 404, 503, 508, 999]),
    narrow_helps=st.booleans(),
    silent_until=minutes,
    away_until=minutes,
    api_fails_until=minutes,
)
events = st.lists(
    st.one_of(st.sampled_from(WISHES), st.just("crash"), st.just("refuse"), st.just("step")), min_size=1, max_size=40
)


@given(routers, capabilities, events)
def test_only_what_is_in_force_is_ever_proven(router: RouterModel, able: Capabilities, happened: list[object]) -> None:
    line = LineState(1, router.in_force, START, proven=router.in_force)
    now = START
    for event in happened:
        if event == "crash":
            line = replace(line, stage=Stage.NOTHING)
        elif event == "refuse":
            line = line.desire(b"refused.", admitted=False, now=now)
        elif isinstance(event, bytes):
            line = line.desire(event, admitted=True, now=now)
        else:
            step = next_step(line, able, now)
            if step.kind is StepKind.WAIT:
                assert step.until is not None
                now = step.until
            elif step.kind not in (StepKind.PROVEN, StepKind.GONE):
                line = after(line, step, router.do(step, line, now), able, now)
        if line.is_proven and router.is_open:
            assert line.admitted
            assert router.in_force == line.desired


@given(routers, capabilities, st.sampled_from(WISHES), st.booleans(), st.lists(st.integers(0, 60), max_size=3))
def test_every_line_comes_to_its_end_however_often_the_core_dies(
    router: RouterModel, able: Capabilities, wish: bytes, admitted: bool, deaths: list[int]
) -> None:
    line = LineState(1, wish, START, admitted=admitted, proven=None)
    run = Run(router, able, line)
    for death in deaths:
        run.kept = replace(run.settle(crash_after=death), stage=Stage.NOTHING)
    end = run.settle()
    assert end.gone or end.is_proven
    if router.is_open and not end.gone:
        assert router.in_force == wish
        assert admitted
