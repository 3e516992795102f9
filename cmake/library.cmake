# One static library per layer, one test program per folder. A file belongs to the folder it lies in.
#
# A library sees its own headers and those of the libraries that it links to, and no others: each has an include root of
# its own in the build tree, with a link to its folder in it. An include that runs back up does not compile.

# holdfast_library(name [FOLDER sub] [PUBLIC libs...] [PRIVATE libs...]): every .cpp below the current folder (or its
# `sub`) but main.cpp. With SHALLOW: of the folder itself, when those below it are libraries of their own.
function(holdfast_library name)
  cmake_parse_arguments(ARG "SHALLOW" "FOLDER" "PUBLIC;PRIVATE" ${ARGN})
  set(folder ${CMAKE_CURRENT_SOURCE_DIR})
  if(ARG_FOLDER)
    set(folder ${folder}/${ARG_FOLDER})
  endif()
  if(ARG_SHALLOW)
    file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.cpp)
  else()
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${folder}/*.cpp)
  endif()
  list(FILTER sources EXCLUDE REGEX "/main\\.cpp$")
  if(sources)
    add_library(${name} STATIC ${sources})
    set(kind PUBLIC)
    target_link_libraries(${name} PUBLIC ${ARG_PUBLIC} PRIVATE holdfast_warnings ${ARG_PRIVATE})
  else()
    add_library(${name} INTERFACE)
    set(kind INTERFACE)
    target_link_libraries(${name} INTERFACE ${ARG_PUBLIC})
  endif()
  file(RELATIVE_PATH path ${PROJECT_SOURCE_DIR} ${folder})
  set(root ${PROJECT_BINARY_DIR}/include/${name})
  get_filename_component(parent ${root}/${path} DIRECTORY)
  file(MAKE_DIRECTORY ${parent})
  file(CREATE_LINK ${folder} ${root}/${path} SYMBOLIC)
  target_include_directories(${name} ${kind} ${root})
endfunction()

# holdfast_test(name LIBS libs... [FILES globs]): a GoogleTest program of the *_test.cpp files below the folder.
function(holdfast_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "LIBS;LABELS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  if(NOT sources)
    return()
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${sources})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})  # tests see everything
  target_link_libraries(${name} PRIVATE holdfast_warnings GTest::gtest GTest::gtest_main GTest::gmock ${ARG_LIBS})
  add_test(NAME ${name} COMMAND ${name} --gtest_brief=1)
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}"
    ENVIRONMENT "TSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/tsan.supp")
endfunction()
