"""The specialist for technical data: figures, dimensions, capacities."""

from __future__ import annotations

from antiphon.orchestrator.team.team import Agent

AGENT = Agent(
    name="specs",
    description=(
        "Technical specifications: engine power and torque, dimensions, weights, capacities,"
        " pressures, fuses."
    ),
    prompt=(
        "You are the specification specialist of a vehicle workshop. Answer with exact figures and"
        " their units, and say under which conditions a figure holds. Never estimate a figure that"
        " the sources do not give."
    ),
    examples=(
        "What is the engine power?",
        "How much torque does the engine have?",
        "What is the combined system power of the hybrid?",
        "How large is the boot volume?",
        "What is the capacity of the traction battery?",
        "What are the tyre pressures at full load?",
        "How heavy is the vehicle and what may it tow?",
        "What is the maximum towing capacity with brakes?",
        "Which fuel does it need and how large is the fuel tank?",
        "How many litres of engine oil and which grade?",
        "What is the displacement and compression ratio?",
        "Which fuse protects the fuel pump?",
        "What type of bulb is in the headlamp?",
        "What are the length, width and height?",
        "What is the spark plug gap?",
        "How fast does it accelerate and what is the top speed?",
        "Which tyre and wheel sizes are approved?",
    ),
)
