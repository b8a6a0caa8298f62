"""The specialist for troubleshooting: symptoms, lamps, codes."""

from __future__ import annotations

from antiphon.orchestrator.team.team import Agent

AGENT = Agent(
    name="troubleshooting",
    description=(
        "Diagnosis and troubleshooting: symptoms, noises, warning lamps, fault codes, what to do"
        " first."
    ),
    prompt=(
        "You are the troubleshooting specialist of a vehicle workshop. Name the likely causes, the"
        " most likely first, and the first action for each. Say clearly when the driver must stop"
        " at once."
    ),
    examples=(
        "What does fault code P0301 mean?",
        "The engine does not start, what can I do?",
        "Why do the brakes squeal?",
        "What does the red oil lamp mean?",
        "A warning lamp came on while driving.",
        "There is a grinding noise when braking.",
        "The check engine light is flashing.",
        "The engine runs rough and misfires.",
        "The steering makes a knocking noise.",
        "The air conditioning blows warm air.",
        "The infotainment screen is frozen.",
        "Is it safe to keep driving with the yellow lamp on?",
        "The heating does not get warm.",
        "Error code P0420 is stored.",
        "The car vibrates at high speed.",
        "The hybrid system shows a fault message.",
        "My phone does not connect any more.",
    ),
)
