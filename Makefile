# spillway - one Makefile, no recursion into folders, no configure
#
# Everything is built below build/$(V)/: V=release (default), asan, cov.  `make help` lists the targets.

V ?= release
B := build/$(V)
PREFIX ?= /usr/local
DESTDIR ?=
QMAIL_HOME ?= /var/qmail

CC ?= cc
ifeq ($(origin CC),default)
CC := gcc
endif
PKGS := libconfig libevent_core jansson sqlite3
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)

# What gcc 12 and clang 14 both take.  -Werror only where a new compiler can't break a user's build.
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	-Wcast-qual -Wwrite-strings -Wvla -Wformat=2 -Wundef -Wimplicit-fallthrough -Wconversion
ifdef CI
WARN += -Werror
endif
CPPFLAGS := -D_GNU_SOURCE -I. -DSPILLWAY_PREFIX='"$(PREFIX)"' $(EXTRA_CPPFLAGS)
HARDEN := -fstack-protector-strong -fPIE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
OPT_release := -O2 -g $(HARDEN)
OPT_asan := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
OPT_cov := -O0 -g --coverage
LINK_release := -pie -Wl,-z,relro,-z,now
LINK_asan := -fsanitize=address,undefined
LINK_cov := --coverage
CFLAGS := -std=c11 $(OPT_$(V)) $(WARN)
LDFLAGS := $(LINK_$(V))

# Plugins are executed at every SMTP command: static, small, with musl where it is (a fifth of the start-up
# cost of a static glibc program).
MUSL := $(shell command -v musl-gcc 2>/dev/null)
PLUGIN_CC := $(if $(MUSL),$(MUSL),$(CC))
PLUGIN_CFLAGS := -std=c11 -Os -DCLOCK_ONCE -fno-pie -fno-stack-protector \
	-fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections $(WARN)
PLUGIN_LDFLAGS := -static -no-pie -s -Wl,--gc-sections,-z,norelro,-z,noseparate-code,--build-id=none
# musl-gcc's headers need no _FORTIFY_SOURCE; sanitizers can't be static, so asan builds a dynamic one with gcc.
ifneq ($(V),release)
PLUGIN_CC := $(CC)
PLUGIN_CFLAGS := $(CFLAGS) -DPLUGIN_NO_HANDLERS
PLUGIN_LDFLAGS := $(LDFLAGS)
endif

# The client library.  Its objects show nothing but what spillway.c marks as public, in the archive too.
CLIENT := $(patsubst %.c,$(B)/pic/%.o,$(addprefix lib/,spillway.c ask.c dial.c record.c ip.c num.c siphash.c text.c \
	clock.c rundir.c))
SONAME := libspillway.so.0
VERSION := $(shell sed -n 's/^\#define SPILLWAY_VERSION "\(.*\)"/\1/p' lib/version.h)

LIB := $(patsubst %.c,$(B)/%.o,$(wildcard lib/*.c))
PROBES := $(patsubst %.c,$(B)/%.o,$(wildcard probes/*.c))
ACTIONS := $(patsubst %.c,$(B)/%.o,$(wildcard actions/*.c))
MAINS := controller/spillwayd.c controller/spillway.c
# What only the command needs.
CLI := $(wildcard $(addprefix controller/,client.c raterclient.c offline.c show.c past.c refusals.c blockcmd.c store_import.c explain.c replaycmd.c stormcmd.c addresses.c doctor*.c setup*.c))
CONTROLLER := $(patsubst %.c,$(B)/%.o,$(filter-out $(MAINS) $(CLI),$(wildcard controller/*.c)))
PLUGIN := $(patsubst %.c,$(B)/plugin/%.o,$(wildcard plugins/*.c) \
	$(addprefix lib/,clock.c text.c ip.c num.c siphash.c fdio.c state.c flag.c record.c ask.c dial.c rundir.c \
	smtp.c address.c))
ARCHIVES := $(B)/controller.a $(B)/probes.a $(B)/actions.a $(B)/lib.a
LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lm

STANDIN := $(patsubst tests/standin/%.c,$(B)/standin/%,$(wildcard tests/standin/*.c))
UNIT := $(patsubst tests/unit/%.c,$(B)/unit/%,$(wildcard tests/unit/test_*.c))

# Keep the objects that rules chain through.
.SECONDARY:

# `make Q=` shows whole command lines.
Q ?= @
say = @echo " "

.PHONY: all
all: $(B)/spillwayd $(B)/spillway $(B)/spillway-plugin $(B)/libspillway.a $(B)/libspillway.so ## build everything that is installed

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(B)/plugin/%.o: %.c
	@mkdir -p $(@D)
	$(say) CC $< "(plugin)"
	$(Q)$(PLUGIN_CC) $(CPPFLAGS) $(PLUGIN_CFLAGS) -MMD -MP -c $< -o $@

$(B)/pic/%.o: %.c
	@mkdir -p $(@D)
	$(say) CC $< "(library)"
	$(Q)$(CC) $(CPPFLAGS) $(filter-out -fPIE,$(CFLAGS)) -fPIC -fvisibility=hidden -MMD -MP -c $< -o $@

$(B)/libspillway.so: $(CLIENT) lib/libspillway.map
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(filter-out -pie,$(LDFLAGS)) -shared -Wl,-soname,$(SONAME) \
		-Wl,--version-script=lib/libspillway.map $(CLIENT) -o $@

# One object whose inner names are local: no program's own text_puts() meets ours.
$(B)/libspillway.a: $(CLIENT)
	$(say) AR $@
	$(Q)$(LD) -r $^ -o $(B)/pic/libspillway.o && objcopy --localize-hidden $(B)/pic/libspillway.o
	$(Q)rm -f $@ && $(AR) rcs $@ $(B)/pic/libspillway.o

$(B)/lib.a: $(LIB)
$(B)/probes.a: $(PROBES)
$(B)/actions.a: $(ACTIONS)
$(B)/controller.a: $(CONTROLLER)
%.a:
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(B)/spillway: $(patsubst %.c,$(B)/%.o,$(CLI))
$(B)/spillwayd $(B)/spillway: $(B)/%: $(B)/controller/%.o $(ARCHIVES)
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(filter %.o,$^) $(ARCHIVES) -o $@ $(LIBS)

$(B)/spillway-plugin: $(PLUGIN)
	$(say) LD $@
	$(Q)$(PLUGIN_CC) $(PLUGIN_CFLAGS) $(PLUGIN_LDFLAGS) $^ -o $@

$(B)/standin/%: $(B)/tests/standin/%.o $(B)/lib.a
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $< $(filter-out %/lib.a,$(filter %.a,$^)) $(B)/lib.a -o $@
$(B)/standin/blockctl: $(B)/actions.a
$(B)/standin/logtail: $(B)/probes.a

SIM := $(B)/tests/sim/sim.o
$(B)/unit/%: $(B)/tests/unit/%.o $(SIM) $(ARCHIVES)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $< $(SIM) $(ARCHIVES) -o $@ -lcmocka $(LIBS)

# --- tests -----------------------------------------------------------------------------------------

# Libraries that tests preload into the daemon.
FAULT := $(patsubst tests/fault/%.c,$(B)/fault/%.so,$(wildcard tests/fault/*.c))
$(B)/fault/%.so: tests/fault/%.c
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(CPPFLAGS) -std=c11 -O1 -g -fPIC -shared $(WARN) $< -o $@ -ldl

# Plugins that crash on purpose, each in its own way: for the guards.
CRASH := $(foreach n,1 2 3 4 5,$(B)/crash/spillway-plugin-$(n))
$(B)/crash/spillway-plugin-%: $(filter-out $(B)/plugin/plugins/main.o,$(PLUGIN)) plugins/main.c
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(PLUGIN_CC) $(CPPFLAGS) $(PLUGIN_CFLAGS) -DPLUGIN_CRASH=$* -c plugins/main.c -o $@.o
	$(Q)$(PLUGIN_CC) $(PLUGIN_CFLAGS) $(PLUGIN_LDFLAGS) $@.o $(filter-out $(B)/plugin/plugins/main.o,$(PLUGIN)) -o $@

# Fuzz targets: with libFuzzer (make fuzz), and without one to replay the corpus (make check).
FUZZ := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
$(B)/replay/%: $(B)/tests/fuzz/%.o $(B)/tests/fuzz/replay.o $(ARCHIVES)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ -o $@ $(LIBS)

build/fuzz/%.o: %.c
	@mkdir -p $(@D)
	$(say) CC $< "(fuzz)"
	$(Q)clang $(CPPFLAGS) $(PKG_CFLAGS) -std=c11 -O1 -g -fsanitize=fuzzer-no-link,address,undefined \
		-fno-sanitize-recover=all -MMD -MP -c $< -o $@
-include $(shell find build/fuzz -name '*.d' 2>/dev/null)
FUZZ_OBJECTS := $(patsubst %.c,build/fuzz/%.o,$(wildcard lib/*.c probes/*.c actions/*.c) \
	$(filter-out $(MAINS) $(CLI),$(wildcard controller/*.c)))
build/fuzz/fuzz_%: build/fuzz/tests/fuzz/fuzz_%.o $(FUZZ_OBJECTS)
	$(say) LD $@
	$(Q)clang -fsanitize=fuzzer,address,undefined $^ -o $@ $(LIBS)

.PHONY: test-programs
test-programs: all $(STANDIN) $(UNIT) $(FAULT) $(CRASH) $(addprefix $(B)/replay/,$(FUZZ))

# Each is run as NAME=COMMAND by tests/run.sh; the longest first.
E2E := $(filter-out tests/e2e/lib.sh,$(wildcard tests/e2e/*.sh))
RUN_E2E := $(foreach t,$(E2E),'$(t)=B=$(B) $(t)')
RUN_UNIT := $(foreach t,$(UNIT),'$(patsubst $(B)/%,%,$(t))=CMOCKA_MESSAGE_OUTPUT=TAP $(MEMCHECK) $(t)')
RUN_REPLAY := $(foreach t,$(FUZZ),'replay/$(t)=$(B)/replay/$(t) tests/fuzz/corpus/$(patsubst fuzz_%,%,$(t))')
RUN_LINT := 'lint/layers=B=$(B) tests/lint/layers.sh' 'lint/text=tests/lint/text.sh'
RUN_MUTATION := 'mutation=B=$(B) tests/mutation/mutate.sh'

.PHONY: check
check: ## install what is missing, build, run all tests
	@tests/setup.sh check
	@$(MAKE) --no-print-directory -j$$(nproc) test-programs
	@tests/run.sh $(RUN_E2E) $(RUN_MUTATION) $(RUN_UNIT) $(RUN_REPLAY) $(RUN_LINT)

.PHONY: unit
unit: $(UNIT) ## unit tests alone
	@tests/run.sh $(RUN_UNIT)

.PHONY: e2e
e2e: test-programs ## end-to-end tests alone
	@tests/run.sh $(RUN_E2E)

.PHONY: lint
lint: all ## layers, banned functions, shellcheck, mandoc, cppcheck
	@tests/run.sh $(RUN_LINT)

.PHONY: mutation
mutation: $(UNIT) ## change comparisons of decide.c, one at a time: all must be noticed
	@tests/run.sh $(RUN_MUTATION)

.PHONY: asan
asan: ## all tests under AddressSanitizer and UBSan
	@tests/setup.sh check
	@$(MAKE) --no-print-directory V=asan -j$$(nproc) test-programs
	@$(MAKE) --no-print-directory V=asan run-instrumented

.PHONY: run-instrumented
run-instrumented:
	@TEST_TIMEOUT=3600 tests/run.sh $(RUN_E2E) $(RUN_UNIT) $(RUN_REPLAY)

.PHONY: valgrind
valgrind: ## unit tests under valgrind's memcheck
	@tests/setup.sh check
	@$(MAKE) --no-print-directory -j$$(nproc) test-programs
	@$(MAKE) --no-print-directory unit \
		MEMCHECK='valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite --child-silent-after-fork=yes --suppressions=tests/unit/valgrind.supp'

FUZZ_SECONDS ?= 60
.PHONY: fuzz
fuzz: ## fuzz each target for FUZZ_SECONDS (60)
	@tests/setup.sh fuzz
	@$(MAKE) --no-print-directory -j$$(nproc) $(addprefix build/fuzz/,$(FUZZ))
	@FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/fuzz.sh $(FUZZ)

.PHONY: demo
demo: ## the main job on a private qmail home: a flood, live, in under two minutes
	@tests/setup.sh demo
	@$(MAKE) --no-print-directory -j$$(nproc) all $(STANDIN)
	@B=$(B) tests/demo.sh

BENCH := $(patsubst tests/bench/%.c,$(B)/bench/%,$(wildcard tests/bench/*.c))
$(B)/bench/%: $(B)/tests/bench/%.o $(SIM) $(ARCHIVES)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $< $(SIM) $(ARCHIVES) -o $@ $(LIBS)

$(B)/bench-empty: tests/bench/plugins/empty.c
	$(Q)$(PLUGIN_CC) $(PLUGIN_CFLAGS) $(PLUGIN_LDFLAGS) $< -o $@

.PHONY: bench
bench: ## cost of a plugin, of watching a queue, of a decision; simulated days
	@tests/setup.sh bench
	@$(MAKE) --no-print-directory -j$$(nproc) all $(STANDIN) $(BENCH) $(B)/bench-empty
	@B=$(B) tests/bench/bench.sh

.PHONY: bench-sim
bench-sim: $(B)/bench/bench_sim ## simulated days: our decision and the cron line that it replaces
	@$(B)/bench/bench_sim

# --- installing ------------------------------------------------------------------------------------

SHARE = $(PREFIX)/share/spillway
LIBDIR = $(PREFIX)/lib/spillway
LINKDIR = $(PREFIX)/lib
ETC_FILES := $(patsubst etc/%,%,$(shell find etc -type f 2>/dev/null))
MAN_PAGES := $(wildcard man/*.[1-9])

# A file goes to a temporary name and is moved over the old one: a session that runs a plugin at that moment
# sees the old or the new one, whole.
define put
	@mkdir -p $(DESTDIR)$(dir $(3))
	@install -m $(1) $(2) $(DESTDIR)$(3).new && mv -f $(DESTDIR)$(3).new $(DESTDIR)$(3)

endef
# Templates name the place they are installed to.
define put_template
	@mkdir -p $(DESTDIR)$(dir $(2))
	@sed 's|@PREFIX@|$(PREFIX)|g; s|@VERSION@|$(VERSION)|g' $(1) >$(DESTDIR)$(2).new && chmod $(if $(filter %run %finish,$(1)),755,644) \
		$(DESTDIR)$(2).new && mv -f $(DESTDIR)$(2).new $(DESTDIR)$(2)

endef
# put_link TARGET LINK
define put_link
	@ln -sf $(1) $(DESTDIR)$(2).new && mv -Tf $(DESTDIR)$(2).new $(DESTDIR)$(2)

endef

.PHONY: install
install: all ## install below $(DESTDIR)$(PREFIX); running sessions never see half a plugin
	$(call put,755,$(B)/spillwayd,$(PREFIX)/sbin/spillwayd)
	$(call put,755,$(B)/spillway,$(PREFIX)/bin/spillway)
	$(call put,755,$(B)/spillway-plugin,$(LIBDIR)/spillway-plugin)
	$(call put,644,lib/spillway.h,$(PREFIX)/include/spillway.h)
	$(call put,644,$(B)/libspillway.a,$(LINKDIR)/libspillway.a)
	$(call put,755,$(B)/libspillway.so,$(LINKDIR)/libspillway.so.$(VERSION))
	$(call put_link,libspillway.so.$(VERSION),$(LINKDIR)/$(SONAME))
	$(call put_link,$(SONAME),$(LINKDIR)/libspillway.so)
	$(call put_template,lib/spillway.pc.in,$(LINKDIR)/pkgconfig/spillway.pc)
	$(foreach f,$(ETC_FILES),$(call put_template,etc/$(f),$(SHARE)/$(f)))
	$(foreach f,$(MAN_PAGES),$(call put,644,$(f),$(PREFIX)/share/man/man$(subst .,,$(suffix $(f)))/$(notdir $(f))))
	@echo "installed below $(DESTDIR)$(PREFIX); \`spillway setup\` shows what it would do to put it to work"

.PHONY: uninstall
uninstall: ## remove what install put there; `spillway setup --undo` first, so that qmail does not miss its plugin
	@if grep -qs spillway $(DESTDIR)$(QMAIL_HOME)/control/smtpplugins; then \
		echo "$(DESTDIR)$(QMAIL_HOME)/control/smtpplugins still names spillway: qmail would answer 451 to everybody."; \
		echo "Run \`spillway setup --undo\` first."; exit 1; fi
	rm -f $(DESTDIR)$(PREFIX)/sbin/spillwayd $(DESTDIR)$(PREFIX)/bin/spillway $(DESTDIR)$(PREFIX)/include/spillway.h
	rm -f $(addprefix $(DESTDIR)$(LINKDIR)/,libspillway.a libspillway.so $(SONAME) libspillway.so.$(VERSION) \
		pkgconfig/spillway.pc)
	rm -f $(foreach f,$(MAN_PAGES),$(DESTDIR)$(PREFIX)/share/man/man$(subst .,,$(suffix $(f)))/$(notdir $(f)))
	rm -rf $(DESTDIR)$(LIBDIR) $(DESTDIR)$(SHARE)

.PHONY: clean
clean: ## remove build/
	rm -rf build

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | sort | expand -t 16

-include $(shell find $(B) -name '*.d' 2>/dev/null)
