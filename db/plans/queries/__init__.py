"""Reads of plans: what a plan shows to those who teach it, and what of it to those who learn."""

from db.plans.queries.plans import PLAN, PLANS_OF_COURSE, TASKING_PLAN, PlanVersion, plan_version

__all__ = ["PLAN", "PLANS_OF_COURSE", "TASKING_PLAN", "PlanVersion", "plan_version"]
