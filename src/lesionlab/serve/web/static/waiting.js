// A job that is not done: how far it is, why it failed; the page of results follows by itself.
import { byId, post, told } from "./api.js";

const id = document.body.dataset.job;
const WITH_RESULTS = ["examine", "compare"];
const OPEN = ["waiting", "running"];

function show(job) {
  if (job.state === "done" && WITH_RESULTS.includes(job.kind)) {
    location.reload();
    return;
  }
  byId("state").textContent = job.state;
  byId("state").className = `state ${job.state}`;
  byId("message").textContent = job.state === "failed" ? "" : job.message;
  byId("progress").value = job.progress;
  byId("progress").hidden = byId("cancel").hidden = !OPEN.includes(job.state);
  byId("retry").hidden = !["failed", "cancelled"].includes(job.state);
  byId("problem").textContent = job.error;
  byId("problem").hidden = !job.error;
}

async function watch() {
  try {
    show(await told(`/jobs/${id}`));
  } catch (error) {
    byId("message").textContent = error.message;
  }
  setTimeout(watch, 1000);
}

for (const name of ["cancel", "retry"]) {
  byId(name).addEventListener("click", async () => {
    try {
      show(await post(`/jobs/${id}/${name}`));
    } catch (error) {
      byId("message").textContent = error.message;
    }
  });
}
if (byId("state").textContent !== "done") {
  setTimeout(watch, 500);
}
