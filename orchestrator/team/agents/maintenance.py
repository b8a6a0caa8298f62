"""The specialist for maintenance: the plan, the work, the appointment."""

from __future__ import annotations

from antiphon.orchestrator.team.team import Agent

AGENT = Agent(
    name="maintenance",
    description=(
        "Maintenance and service: intervals, service plan, how work is done, care, booking"
        " appointments."
    ),
    prompt=(
        "You are the maintenance specialist of a vehicle workshop. Say what has to be done, when"
        " (in kilometres and months, whichever comes first), in which order and with which"
        " materials. Point out work for a workshop only."
    ),
    examples=(
        "How often must the engine oil be changed?",
        "When is the next service due?",
        "When should the brake fluid be replaced?",
        "How do I change the oil filter?",
        "How do I book a service appointment?",
        "What are the opening hours of the workshop?",
        "What should I bring to the appointment?",
        "When are the spark plugs replaced?",
        "How often should tyres be rotated?",
        "How do I care for the 12 V battery in winter?",
        "How do I jump-start the car?",
        "What is done at the annual inspection?",
        "Which tightening torque has the oil drain plug?",
        "When do the brake pads need replacing?",
        "How do I reset the service reminder?",
        "Can I make an appointment for Saturday?",
        "How is the air filter exchanged?",
    ),
)
