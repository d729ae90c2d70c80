// What libpoisonctl says of a registry and a machine, for library.bats, which says it again by the
// program.
//
//   library_dump REGISTRY SYSROOT list
//   library_dump REGISTRY SYSROOT check ADDRESS SIZE
//   library_dump REGISTRY SYSROOT plan|artifact BACKEND [FORM|- [COMMAND-LINE]]
//
// "-" stands for NULL. Exit status: 0, or 100 and the status of the library, whose message goes to
// stderr.
#include <inttypes.h>
#include <poisonctl/poisonctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *or_null(const char *word) { return strcmp(word, "-") == 0 ? NULL : word; }

static int failed(const struct poisonctl_error *error) {
  fprintf(stderr, "%s\n", error->message);
  return 100 + error->status;
}

static void print(const char *what, struct poisonctl_range range, const char *text) {
  printf("%s %" PRIu64 " %" PRIu64 "%s%s\n", what, range.address, range.size, text[0] ? " " : "",
         text);
}

static int dump_list(const poisonctl_list *list) {
  printf("generation %" PRIu64 "\npage %" PRIu64 "\n", poisonctl_list_generation(list),
         poisonctl_list_page_size(list));
  for (size_t i = 0; i < poisonctl_list_count(list); ++i)
    print("range", poisonctl_list_range(list, i), "");
  struct poisonctl_range range;
  for (size_t i = 0; i < poisonctl_list_refused_count(list); ++i) {
    const char *reason = poisonctl_list_refused(list, i, &range);
    print("refused", range, reason);
  }
  for (size_t i = 0; i < poisonctl_list_warning_count(list); ++i)
    printf("warning %s\n", poisonctl_list_warning(list, i));
  return 0;
}

static int dump_plan(const poisonctl_plan *plan) {
  struct poisonctl_range range;
  for (size_t i = 0; i < poisonctl_plan_covered_count(plan); ++i)
    print("covered", poisonctl_plan_covered(plan, i), "");
  for (size_t i = 0; i < poisonctl_plan_refused_count(plan); ++i) {
    const char *reason = poisonctl_plan_refused(plan, i, &range);
    print("refused", range, reason);
  }
  for (size_t i = 0; i < poisonctl_plan_side_effect_count(plan); ++i)
    printf("effect %s\n", poisonctl_plan_side_effect(plan, i));
  return 0;
}

static int dump_artifact(const poisonctl_plan *plan) {
  size_t size;
  const char *artifact = poisonctl_plan_artifact(plan, &size);
  return fwrite(artifact, 1, size, stdout) == size ? 0 : 1;
}

int main(int argc, char **argv) {
  if (argc < 4) return 64;
  struct poisonctl_error error;
  poisonctl_list *list;
  if (poisonctl_list_open(or_null(argv[1]), or_null(argv[2]), 0, &list, &error) != POISONCTL_OK)
    return failed(&error);
  int status = 64;
  if (strcmp(argv[3], "list") == 0) {
    status = dump_list(list);
  } else if (strcmp(argv[3], "check") == 0 && argc == 6) {
    printf("%d\n",
           poisonctl_list_check(list, strtoull(argv[4], NULL, 0), strtoull(argv[5], NULL, 0)));
    status = 0;
  } else if (argc >= 5) {
    poisonctl_plan *plan;
    const char *form = argc > 5 ? or_null(argv[5]) : NULL;
    if (poisonctl_plan_make(list, argv[4], form, argc > 6 ? argv[6] : NULL, &plan, &error) !=
        POISONCTL_OK) {
      status = failed(&error);
    } else {
      status = strcmp(argv[3], "plan") == 0 ? dump_plan(plan) : dump_artifact(plan);
      poisonctl_plan_free(plan);
    }
  }
  poisonctl_list_close(list);
  return status;
}
