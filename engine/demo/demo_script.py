"""What Streamlit runs for each visitor, and again after each of their actions."""

from engine.demo.demo_page import show
from engine.demo.demo_server import content

page = content()
show(page.models, page.samples, page.limits)
